//! The results for each angle, as numbers and in words.

use anyhow::Result;
use tch::Tensor;
use tch_dropout::Prediction;

pub struct Curves {
    pub angles: Vec<f64>,
    /// Indexed by class.
    pub classes: Vec<Class>,
    /// In nats, like the information.
    pub entropy: Vec<f64>,
    pub information: Vec<f64>,
    pub passes: i64,
}

/// A class's probability over the passes.
pub struct Class {
    pub mean: Vec<f64>,
    pub deviation: Vec<f64>,
}

impl Curves {
    pub fn new(angles: &[f64], prediction: &Prediction) -> Result<Curves> {
        let (means, deviations) = (prediction.mean.tr(), prediction.variance.sqrt().tr());
        let class = |k| -> Result<Class> {
            Ok(Class { mean: numbers(&means.get(k))?, deviation: numbers(&deviations.get(k))? })
        };
        Ok(Curves {
            angles: angles.to_vec(),
            classes: (0..means.size()[0]).map(class).collect::<Result<_>>()?,
            entropy: numbers(&prediction.entropy)?,
            information: numbers(&prediction.mutual_information)?,
            passes: prediction.passes,
        })
    }

    /// The classes, the one with the highest peak first.
    pub fn by_peak(&self) -> Vec<usize> {
        let height = |class: usize| self.classes[class].mean[self.peak(class)];
        let mut order: Vec<_> = (0..self.classes.len()).collect();
        order.sort_by(|&a, &b| height(b).total_cmp(&height(a)));
        order
    }

    /// The index of the angle at which a class is most probable.
    pub fn peak(&self, class: usize) -> usize {
        let mean = &self.classes[class].mean;
        (0..mean.len()).max_by(|&a, &b| mean[a].total_cmp(&mean[b])).unwrap_or(0)
    }

    /// Describes the prediction at the start, where it is least sure, and at the end.
    pub fn in_words(&self, digit: i64) -> String {
        let by_entropy = |&a: &usize, &b: &usize| self.entropy[a].total_cmp(&self.entropy[b]);
        let places = 0..self.angles.len();
        let least_sure = places.clone().max_by(by_entropy).unwrap_or(0);
        let changes = places
            .skip(1)
            .filter(|&place| self.first(place) != self.first(place - 1))
            .map(|place| format!("{} from {} degrees", self.first(place), self.angles[place]));
        let changes: Vec<_> = changes.collect();
        format!(
            "A {digit} is rotated, {} passes at each angle.\nUpright: {}\nLeast sure: {}\nUpside down: {}\n\
             Its answer changes: {}",
            self.passes,
            self.at(0),
            self.at(least_sure),
            self.at(self.angles.len() - 1),
            if changes.is_empty() { "never".to_owned() } else { changes.join(", ") }
        )
    }

    /// The most probable class.
    fn first(&self, place: usize) -> usize {
        let mean = |class: &usize| self.classes[*class].mean[place];
        (0..self.classes.len()).max_by(|a, b| mean(a).total_cmp(&mean(b))).unwrap_or(0)
    }

    fn at(&self, place: usize) -> String {
        let class = self.first(place);
        let Class { mean, deviation } = &self.classes[class];
        format!(
            "{class} with probability {:.2} ± {:.2} at {} degrees; entropy {:.2} nats, {:.2} of them the \
             model's own doubt",
            mean[place],
            deviation[place],
            self.angles[place],
            self.entropy[place],
            self.information[place]
        )
    }
}

fn numbers(tensor: &Tensor) -> Result<Vec<f64>> {
    Ok(Vec::try_from(tensor.contiguous())?)
}
